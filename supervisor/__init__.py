"""Run the farm's processes on one machine and restart those that die: `imagefarm up`."""
