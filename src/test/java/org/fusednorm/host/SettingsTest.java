package org.fusednorm.host;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import java.util.Map;
import org.fusednorm.testing.ForkedJvm;
import org.junit.jupiter.api.Test;

class SettingsTest {
  @Test
  void variablesHaveUnderscores() throws Exception {
    ForkedJvm.Result result =
        ForkedJvm.start(
                System.getProperty("java.class.path"),
                Map.of("FUSEDNORM_CUDA_SINGLE_PASS", " off ", "FUSEDNORM_B", "variable"),
                List.of("-Dfusednorm.b=property", "-Dfusednorm.c= "),
                Print.class)
            .await();
    assertEquals("off property null", result.output().strip());
  }

  /** In that JVM. */
  static final class Print {
    public static void main(String[] none) {
      System.out.println(
          Settings.get("fusednorm.cuda.single-pass")
              + " "
              + Settings.get("fusednorm.b")
              + " "
              + Settings.get("fusednorm.c"));
    }
  }
}
