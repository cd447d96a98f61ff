package org.fusednorm.cuda;

/**
 * A GPU as the driver describes it.
 *
 * @param ordinal number of the device for the driver, from 0
 * @param name product name
 * @param architecture compute capability without its point: 90 for 9.0
 * @param memoryBytes size of its memory
 * @param multiprocessors their number
 * @param sharedBytes the most shared memory that a block can have
 * @param cacheBytes size of its L2 cache
 * @param bytesPerSecond the most that its memory moves, by clock and width of the bus; 0 where the
 *     driver does not tell
 */
public record CudaDevice(
    int ordinal,
    String name,
    int architecture,
    long memoryBytes,
    int multiprocessors,
    int sharedBytes,
    long cacheBytes,
    double bytesPerSecond) {}
