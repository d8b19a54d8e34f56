"""What `pulumi up` runs: the program in infra/__main__.py."""

from infra.__main__ import main

main()
