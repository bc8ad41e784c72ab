"""What is on disk, and the only module that changes it (`durable`)."""
