package org.fusednorm.cuda;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import jcuda.NativePointerObject;
import jcuda.Pointer;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUstream;

/**
 * Plain addresses in JCuda's clothes. JCuda offers no way from a number to a handle, so its field
 * is written; and one object serves many addresses, so that no call allocates.
 */
final class Handles {
  private static final VarHandle ADDRESS = address();

  private Handles() {}

  private static VarHandle address() {
    try {
      return MethodHandles.privateLookupIn(NativePointerObject.class, MethodHandles.lookup())
          .findVarHandle(NativePointerObject.class, "nativePointer", long.class);
    } catch (ReflectiveOperationException e) {
      throw new LinkageError("another JCuda than the one that this was written for", e);
    }
  }

  static long get(NativePointerObject handle) {
    return (long) ADDRESS.get(handle);
  }

  static CUdeviceptr set(CUdeviceptr pointer, long address) {
    ADDRESS.set(pointer, address);
    return pointer;
  }

  static Pointer set(Pointer pointer, long address) {
    ADDRESS.set(pointer, address);
    return pointer;
  }

  /** A stream of somebody else; 0 is the legacy default stream. */
  static CUstream stream(long address) {
    CUstream stream = new CUstream();
    ADDRESS.set(stream, address);
    return stream;
  }
}
