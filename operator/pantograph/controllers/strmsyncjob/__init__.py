"""`StrmSyncJob`: when a run is due, whose turn it is, and what came of it. What a run does, `pantograph.strm` knows."""
