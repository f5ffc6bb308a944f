"""PlexSync's tests, the simulators that they share with the demo, and the demo."""
