package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import org.fusednorm.testing.Make;
import org.fusednorm.testing.Required;
import org.junit.jupiter.api.Test;

class CudaImageTest {
  private static final Set<Integer> ARCHITECTURES = Set.of(75, 80, 86, 89, 90, 100, 120);

  private static CudaImage image() throws IOException {
    Optional<CudaImage> image = CudaImage.load();
    Required.assume("nvcc", image.isPresent(), "built without the CUDA compiler");
    return image.get();
  }

  @Test
  void holdsMachineCodeForEveryArchitectureAndPtxForLaterOnes() throws IOException {
    CudaImage image = image();
    assertEquals(ARCHITECTURES, image.architectures());
    assertEquals(Set.of(75), image.ptx());
    assertTrue(image.bytes().isDirect());
  }

  @Test
  void holdsExactlyTheEntriesThatJavaNames() throws IOException {
    CudaImage image = image();
    Set<String> always = new TreeSet<>(image.entries());
    always.removeAll(SinglePasses.ENTRIES);
    assertEquals(new TreeSet<>(CudaKernels.ENTRIES), always);
    for (String entry : always) {
      assertEquals(ARCHITECTURES, image.registers(entry).keySet(), entry);
      // Two blocks of 256 threads on each multiprocessor.
      image
          .registers(entry)
          .forEach((arch, n) -> assertTrue(n <= 128, entry + " sm_" + arch + ": " + n));
    }
    assertThrows(IllegalArgumentException.class, () -> image.registers("infer"));
    assertEquals(ARCHITECTURES, image.sharedBytes("forward_f32").keySet());
    assertTrue(image.sharedBytes("forward_f32").get(90) > 8 * NormPlan.THREADS);
    assertEquals(0, image.sharedBytes("commit").get(90));
    assertThrows(IllegalArgumentException.class, () -> image.sharedBytes("infer"));
  }

  @Test
  void kernelsAreRightOnTheHost() throws IOException, InterruptedException {
    Make.run("cuda", "test");
  }
}
