package org.fusednorm.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.ref.WeakReference;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Availability;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Saved;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CpuProviderTest {
  private final String threadsBefore = System.getProperty("fusednorm.threads");

  @AfterEach
  void restoreThreads() {
    if (threadsBefore == null) {
      System.clearProperty("fusednorm.threads");
    } else {
      System.setProperty("fusednorm.threads", threadsBefore);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"two", "0", "-1", "1025", "99999999999"})
  void aMalformedNumberOfThreadsIsAnErrorAndNotAnotherBackend(String given) {
    System.setProperty("fusednorm.threads", given);
    Availability a = new CpuProvider().availability();
    assertTrue(a.available());
    assertTrue(a.cause().contains("fusednorm.threads=" + given), a.cause());
    if (System.getProperty("fusednorm.backend") == null) {
      assertNotEquals("reference", Backends.choice().spec());
    }
    String text =
        assertThrows(IllegalArgumentException.class, () -> Backends.open("cpu")).getMessage();
    assertEquals(a.cause(), text);
  }

  @Test
  void aClosedBackendHoldsNoTensor() throws InterruptedException {
    WeakReference<Object> storage = storageOfAClosedBackend();
    for (int i = 0; i < 100 && storage.get() != null; i++) {
      System.gc();
      Thread.sleep(10);
    }
    assertNull(storage.get());
  }

  private static WeakReference<Object> storageOfAClosedBackend() {
    try (Backend b = TestBackends.over(new CpuEngine(2))) {
      Shape s = Shape.nc(64, 16);
      Tensor x = b.zeros(s, DType.F32);
      Saved saved = Saved.empty(b, s, DType.F32, false);
      b.norm().forward(x, Affine.NONE, 1e-5, Activation.NONE, null, saved, b.empty(s, DType.F32));
      return new WeakReference<>(x.storage());
    }
  }
}
