"""``thresher verify``: a user's own pipeline on a sample, several times as real processes, and everything compared.

    settings ──plan──▶ variants: workers, batch sizes, fused or not, shards, kills
    each variant ──▶ [a supervisor of its own, a scratch state directory, sinks that record] ──▶ Outcome
    the first is the reference: one worker, no kills          every other Outcome ──compare──▶ differences, hints

What comes of a pipeline must not depend on how the work is spread, where batches end, and who died meanwhile. Thresher
sees to its part; the functions have to do theirs: one that looks at the clock, draws random numbers, keeps state
between calls, or takes the lines of a batch for all there are, gives other results with other batches.

Guarantees: nothing outside the scratch directory is written to or renamed, whatever the sinks are (they only say
whether they can pack an item); no process is left behind; the sample is read where it lies, and a sample that changes
meanwhile is reported as that.

What does not work: running the variants in one process (``actors.testing`` does that, and cannot show what depends on
a process: hash seeds, state kept between calls, what an import leaves behind); forking them from here (they would share
what was imported once: hash seed, salts drawn at import).
"""
