"""`marm cluster-demo`: Redis, ranks, servers and a load on one machine, one of each killed, and the accounts of it."""
