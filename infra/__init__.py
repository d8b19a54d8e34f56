"""What an environment is made of, one folder a target. Never imports the service, the load tests or the CLI."""
