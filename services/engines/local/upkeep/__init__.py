"""What goes on beside serving: removing garbage, re-reading, checking, snapshots."""
