"""The small generators whose fakes make the demo dataset, one file each."""
