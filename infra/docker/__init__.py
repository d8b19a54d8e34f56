"""The Docker target: every part of an environment as a component on Docker Swarm, one file a part."""
