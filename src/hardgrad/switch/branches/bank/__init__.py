"""Many equal branches run together: their weights stacked, their rows laid out."""
