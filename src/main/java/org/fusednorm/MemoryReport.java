package org.fusednorm;

/**
 * What a backend holds.
 *
 * @param bytesInUse bytes of the allocations that are open
 * @param peakBytes the largest value that bytesInUse has had
 * @param allocations number of open allocations (views and wrapped memory do not count)
 */
public record MemoryReport(long bytesInUse, long peakBytes, long allocations) {}
