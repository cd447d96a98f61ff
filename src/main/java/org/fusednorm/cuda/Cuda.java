package org.fusednorm.cuda;

import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;
import org.fusednorm.BackendException;

/** How a result of the driver becomes an exception. */
final class Cuda {
  private Cuda() {}

  /** Throws unless the call succeeded; for calls whose text costs nothing. */
  static void check(int result, String call) {
    if (result != CUresult.CUDA_SUCCESS) {
      throw failure(result, call);
    }
  }

  /** For example {@code cuMemAlloc(3211264 bytes): CUDA_ERROR_OUT_OF_MEMORY (2), out of memory}. */
  static BackendException failure(int result, String call) {
    return new BackendException(call + ": " + describe(result));
  }

  static String describe(int result) {
    String[] text = new String[1];
    boolean known = JCudaDriver.cuGetErrorString(result, text) == CUresult.CUDA_SUCCESS;
    return CUresult.stringFor(result) + " (" + result + ")" + (known ? ", " + text[0] : "");
  }
}
