package org.fusednorm.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.fusednorm.Availability;
import org.fusednorm.Backends;
import org.junit.jupiter.api.AfterEach;
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
}
