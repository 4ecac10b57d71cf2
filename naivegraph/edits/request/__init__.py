"""What users ask for, validated."""
