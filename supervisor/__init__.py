"""What `imagefarm up` does: runs the farm's processes on one machine and keeps them alive."""
