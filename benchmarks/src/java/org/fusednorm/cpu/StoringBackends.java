package org.fusednorm.cpu;

import org.fusednorm.Backend;
import org.fusednorm.TestBackends;

/** Backends of the CPU whose results all go one way. */
public final class StoringBackends {
  private StoringBackends() {}

  /** With the native kernels, whose results go past the caches or through them. */
  public static Backend open(int threads, boolean past) {
    Stores stores = past ? Stores.PAST_CACHES : Stores.THROUGH_CACHES;
    return TestBackends.over(new CpuEngine(threads, Simd.chosen(), stores));
  }
}
