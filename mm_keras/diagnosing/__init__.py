"""What the machine has, and where the time of a training goes; see `machine.py` and `doctor.py`."""
