"""Starting servers of an engine on this host: what each is, its process, all of them together, and their end."""
