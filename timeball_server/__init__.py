"""What the three services share. Private: other people's code never imports it."""
