"""The gate over a store that several processes share."""
