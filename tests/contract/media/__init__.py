"""What every media source keeps, whatever it is: one suite over all drivers, and each driver's own faults."""
