"""Pulumi, driven through its Automation API: the project's own program and stacks, the same as plain `pulumi up`."""
