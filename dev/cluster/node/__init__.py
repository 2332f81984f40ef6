"""A real single node on this machine, from pinned Go modules and Debian packages: needs root, no container engine."""
