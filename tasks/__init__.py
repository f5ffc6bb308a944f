"""What a person starts: tasks of Stash and the command line. Imports every room; nothing imports it but the entry."""
