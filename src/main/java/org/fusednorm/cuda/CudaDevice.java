package org.fusednorm.cuda;

/**
 * A GPU as the driver describes it.
 *
 * @param ordinal number of the device for the driver, from 0
 * @param name product name
 * @param architecture compute capability without its point: 90 for 9.0
 * @param memoryBytes size of its memory
 */
public record CudaDevice(int ordinal, String name, int architecture, long memoryBytes) {}
