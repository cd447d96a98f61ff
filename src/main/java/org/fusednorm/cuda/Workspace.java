package org.fusednorm.cuda;

/**
 * Memory for the intermediate results of kernels. It outgrows itself by a new one; a recording
 * holds on to that whose address stands in its launches.
 */
final class Workspace {
  private final CudaMemory memory;
  private final CudaStorage storage;
  private int users = 1;

  Workspace(CudaMemory memory, long bytes) {
    this.memory = memory;
    storage = memory.allocate(bytes);
  }

  long address() {
    return storage.address();
  }

  long bytes() {
    return storage.bytes();
  }

  Workspace hold() {
    users++;
    return this;
  }

  /** Frees the memory with its last user. */
  void drop() {
    if (--users == 0) {
      memory.free(storage);
    }
  }
}
