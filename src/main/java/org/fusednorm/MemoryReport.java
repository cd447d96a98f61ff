package org.fusednorm;

/**
 * What a backend holds.
 *
 * @param bytesInUse bytes of the allocations that are open
 * @param peakBytes the largest value that bytesInUse has had
 * @param allocations number of open allocations (views and wrapped memory do not count)
 * @param heldBytes bytes taken from a GPU: the allocations, rounded up, what the backend needs
 *     itself, and the cache; 0 on the host
 * @param cachedBytes part of heldBytes: freed memory that the next allocations get
 */
public record MemoryReport(
    long bytesInUse, long peakBytes, long allocations, long heldBytes, long cachedBytes) {}
