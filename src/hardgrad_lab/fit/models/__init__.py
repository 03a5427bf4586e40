"""What the estimators and the model folder are made of: decisions, checks, what a folder must say."""
