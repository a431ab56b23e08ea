"""Several hosts on one machine: network namespaces with addresses of their own, on a switch that can cut, delay and lose."""
