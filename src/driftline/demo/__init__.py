"""The whole loop on real data: a flight-delay model goes stale, is found out, trained anew, and recovers."""
