"""Long runs that measure the exact values of problems without a closed form."""
