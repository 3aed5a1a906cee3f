"""What decides at the entrance: requests' lives, ways, trust, retries."""
