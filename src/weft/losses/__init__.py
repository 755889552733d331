"""Losses: functions of tensors that training minimises."""
