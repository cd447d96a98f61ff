package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.BackendException;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Parameter;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.fusednorm.Write;
import org.fusednorm.cli.verify.Verification;
import org.junit.jupiter.api.Test;

/** Run by {@link CudaEngineTest} on two devices of 64 MiB. */
class EngineDevices {
  private static final int MIB = 1 << 20;
  private static final String SINGLE_PASS = "fusednorm.cuda.single-pass";

  /** What fills one device finds its room on the other. */
  @Test
  void theNumberBehindTheColonChoosesTheDevice() {
    try (Backend zero = Backends.open("cuda");
        Backend one = Backends.open("cuda:1")) {
      assertEquals("cuda:0", zero.device().toString());
      assertEquals("cuda:1", one.device().toString());
      Tensor first = EngineMemory.bytes(zero, 40 * MIB);
      assertThrows(BackendException.class, () -> EngineMemory.bytes(zero, 40 * MIB));
      Tensor second = EngineMemory.bytes(one, 40 * MIB);
      first.close();
      second.close();
      for (Backend b : List.of(zero, one)) {
        Tensor x = b.of(Shape.of(1, 2), 1, 2);
        b.math().addBias(x, b.of(Shape.of(2), 10, 20), x);
        assertEquals(22, x.toFloats()[1]);
      }
    }
    BackendException e = assertThrows(BackendException.class, () -> Backends.open("cuda:2"));
    assertTrue(e.getMessage().contains("there is no cuda:2 among 2 GPU(s)"), e.getMessage());
  }

  private static final Pattern ENTRY =
      Pattern.compile(
          "\\.visible \\.entry (\\w+)\\(\\s*\\.param \\.align 8 \\.b8 \\w+\\[(\\d+)]\\s*\\)"
              + "\\s*\\.maxntid (\\d+), 1, 1");

  /** Blocks and parameters that each kernel is launched with, against what the compiler wrote. */
  @Test
  void everyEntryIsLaunchedAsItWasCompiled() throws Exception {
    Map<String, String> compiled = new TreeMap<>();
    Matcher m = ENTRY.matcher(ptx());
    while (m.find()) {
      compiled.put(m.group(1), m.group(2) + " bytes, " + m.group(3) + " threads");
    }
    // Other kernels would take small planes from some of those that must take all.
    System.setProperty(SINGLE_PASS, "off");
    Map<String, String> launched = launched(CudaKernels.ENTRIES);
    System.clearProperty(SINGLE_PASS);
    for (String entry : CudaKernels.ENTRIES) {
      assertEquals(compiled.get(entry), launched.get(entry), entry);
    }
    // Those with clusters are not in the text, which is older GPUs'.
    launched(SinglePasses.ENTRIES)
        .forEach((entry, as) -> assertEquals(compiled.getOrDefault(entry, as), as, entry));
  }

  /** Runs everything that verify knows, and says how the entries were launched that it reached. */
  private static Map<String, String> launched(List<String> entries) {
    Map<String, String> launched = new TreeMap<>();
    CudaEngine engine = (CudaEngine) new CudaProvider().open(0);
    try (Backend b = TestBackends.over(engine)) {
      new Verification(true).run(List.of(b), done -> {});
      // Large tiles are for products that fill the device.
      Tensor tall = b.zeros(Shape.of(768, 8), DType.F32);
      Tensor product = b.empty(Shape.of(768, 768), DType.F32);
      b.math().matmul(tall, false, tall, true, product, Write.SET);
      unaligned(b);
      b.synchronize();
      engine.context.enter();
      for (String entry : entries) {
        Kernel k = engine.launches.kernel(entry);
        if (k != null && k.threads() > 0) {
          launched.put(entry, 8 * k.fields() + " bytes, " + k.threads() + " threads");
        }
      }
      engine.context.leave();
    }
    return launched;
  }

  /** Data at an odd address, and as many layers and parameters as a launch takes. */
  private static void unaligned(Backend b) {
    try (Scope m = b.scope()) {
      Shape s = Shape.ncl(2, 3, 5);
      Tensor x = m.zeros(Shape.of(1 + s.elements()), DType.F32).batch(1, 1 + s.elements()).as(s);
      Saved saved = Saved.empty(m, s, DType.F32, false);
      b.norm().forward(x, Affine.NONE, 1e-5, Activation.NONE, null, saved, m.empty(s, DType.F32));
      b.norm().backward(x, x, saved, Activation.NONE, Sums.empty(m, 3), x, null);
      List<Running> all = Stream.generate(() -> Running.cumulative(m, 3, true)).limit(32).toList();
      b.norm().commit(Collections.nCopies(32, saved), all);
      List<Parameter> parameters =
          Stream.generate(() -> m.zeros(Shape.of(3), DType.F32))
              .map(value -> new Parameter("p", value, m.zeros(Shape.of(3), DType.F32)))
              .limit(CudaDescent.MOST)
              .toList();
      b.math().sgd(parameters, null, m.scalar(1), null, null);
    }
  }

  private static String ptx() throws Exception {
    // What the compiler wrote for the driver to compile stands beside the image, as text.
    ByteBuffer text = CudaImage.load().orElseThrow().bytesFor(12000);
    byte[] bytes = new byte[text.capacity()];
    text.get(0, bytes);
    return new String(bytes, StandardCharsets.US_ASCII);
  }
}
