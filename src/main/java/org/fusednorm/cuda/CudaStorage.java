package org.fusednorm.cuda;

import org.fusednorm.Storage;

/** Memory of a GPU: a block of {@link CudaMemory}, or foreign. */
final class CudaStorage extends Storage {
  private final long block;

  /** Foreign memory. */
  CudaStorage(long address, long bytes) {
    this(address, bytes, 0);
  }

  CudaStorage(long address, long bytes, long block) {
    super(address, bytes);
    this.block = block;
  }

  /** Size of the whole block. */
  long block() {
    return block;
  }
}
