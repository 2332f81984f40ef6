"""What developers run and users never install: the local cluster and its pinned tools."""
