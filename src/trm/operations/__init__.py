"""What keeps runs going on a machine or a cluster: doctor before, estimate before, status meanwhile, prune after."""
