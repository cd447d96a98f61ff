package org.fusednorm.cuda;

import org.fusednorm.Storage;

/** Memory of a GPU: its own or foreign. */
final class CudaStorage extends Storage {
  CudaStorage(long address, long bytes) {
    super(address, bytes);
  }
}
