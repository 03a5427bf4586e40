"""What a fit is compared with: who, by sizes; solved or trained; and how good each is."""
