package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Recording;
import org.fusednorm.Saved;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.cuda.Emulator.Build;
import org.fusednorm.cuda.Emulator.Count;
import org.fusednorm.cuda.TuningFile.Choice;
import org.fusednorm.cuda.TuningFile.Key;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The autotuner in JVMs on the emulator, whose times say nothing of a GPU: what is timed, kept and
 * honoured, not what is fast.
 */
class TunerTest {
  private static final String ON = "-Dfusednorm.autotune=true";

  /** The emulator takes a minute for what a cluster of 16 does in the time that is measured. */
  private static final String BASE = "-Dfusednorm.cuda.single-pass=off";

  private static final String WARNING = "WARNING: autotune";

  @TempDir private Path cache;
  private Path file;

  @BeforeEach
  void place() {
    file = cache.resolve("fusednorm").resolve("tuning.json");
  }

  /** What {@link Run} printed: fields by name. */
  private Map<String, String> run(String... options) throws Exception {
    List<String> base = new ArrayList<>(List.of(BASE)); // what is given comes later and counts
    base.addAll(List.of(options));
    return runAll(base.toArray(String[]::new));
  }

  private Map<String, String> runAll(String... options) throws Exception {
    String output =
        Emulator.run(Build.PLAIN, Map.of("XDG_CACHE_HOME", cache.toString()), Run.class, options);
    Map<String, String> fields = new HashMap<>();
    fields.put(
        "warnings",
        output.lines().filter(l -> l.contains(WARNING)).collect(Collectors.joining("\n")));
    output
        .lines()
        .filter(l -> l.startsWith("##"))
        .forEach(l -> fields.put(l.substring(2, l.indexOf(' ')), l.substring(l.indexOf(' ') + 1)));
    return fields;
  }

  private Map<Key, Choice> choices() throws Exception {
    return new TuningFile(file).read();
  }

  /** Makes all choices of the file this one. */
  private void choose(String way) throws Exception {
    List<Choice> all = List.copyOf(choices().values());
    Files.delete(file);
    new TuningFile(file)
        .add(all.stream().map(c -> new Choice(c.of(), way, c.microseconds())).toList());
  }

  @Test
  void timesEveryWayOnceAndKeepsTheFastest() throws Exception {
    Map<String, String> first = run(ON);
    Map<Key, Choice> found = choices();
    assertEquals("", first.get("warnings"));
    assertEquals(
        Set.of("forward", "backward"),
        found.keySet().stream().map(Key::operation).collect(Collectors.toSet()));
    for (Choice c : found.values()) {
      Key k = c.of();
      assertEquals(64, k.image().length());
      assertEquals("F32", k.dtype());
      assertEquals(List.of(6L, 8L, 32L), List.of(k.outer(), k.channels(), k.inner()));
      assertFalse(k.gate());
      Set<String> timed = new TreeSet<>(c.microseconds().keySet());
      assertTrue(timed.containsAll(Set.of("tickets", "parts")), timed::toString);
      assertTrue(timed.contains(c.way()));
      double best = c.microseconds().values().stream().mapToDouble(t -> t).min().getAsDouble();
      assertTrue(c.microseconds().get(c.way()) * 0.98 <= best, c::toString);
      assertTrue(best > 0);
    }
    // Operands were freed, and the user's data is what it was.
    assertEquals(first.get("held"), run("-Dfusednorm.autotune=off").get("held"));
    byte[] before = Files.readAllBytes(file);
    Map<String, String> second = run(ON);
    assertEquals(new String(before), Files.readString(file));
    assertEquals("true", first.get("timed"));
    assertEquals("false", second.get("timed"));
    assertEquals(first.get("bits"), second.get("bits"));
  }

  @Test
  void singlePassKernelsAreTimedToo() throws Exception {
    Map<String, String> first = runAll(ON, "-Dchannels=1");
    for (Choice c : choices().values()) {
      Set<String> timed = c.microseconds().keySet();
      assertTrue(timed.containsAll(Set.of("rr_small", "rr_c16", "tickets")), timed::toString);
    }
    choose("rr_c2");
    Map<String, String> second = runAll(ON, "-Dchannels=1");
    assertEquals("1", second.get("forward"));
    assertEquals(
        runAll("-Dfusednorm.cuda.single-pass=rr_c2", "-Dchannels=1").get("bits"),
        second.get("bits"));
    assertEquals("true", first.get("timed"));
  }

  @Test
  void theFilesChoiceIsHonoured() throws Exception {
    run(ON);
    choose("parts");
    Map<String, String> parts = run(ON);
    assertEquals("3", parts.get("forward"));
    assertEquals("3", parts.get("backward"));
    choose("tickets");
    Map<String, String> tickets = run(ON);
    assertEquals("1", tickets.get("forward"));
    assertEquals("1", tickets.get("backward"));
    assertEquals(parts.get("bits"), tickets.get("bits"));
  }

  @Test
  void aWayThatIsNotAllowedIsTimedAnew() throws Exception {
    run(ON);
    choose("rr_c99");
    run(ON);
    for (Choice c : choices().values()) {
      assertTrue(c.microseconds().containsKey(c.way()), c::toString);
    }
    choose("tickets");
    assertEquals(
        "3",
        run(ON, "-Dfusednorm.cuda.tickets=false", "-Dfusednorm.cuda.single-pass=off")
            .get("forward"));
  }

  @Test
  void aFileOfSomethingElseIsOneLineAndReplaced() throws Exception {
    Files.createDirectories(file.getParent());
    for (String content :
        List.of("{\"format\": ", "{\"format\": \"fusednorm tuning\", \"version\": 7}")) {
      Files.writeString(file, content);
      Map<String, String> ran = run(ON);
      assertEquals(1, ran.get("warnings").lines().count(), ran.get("warnings"));
      assertTrue(ran.get("warnings").contains(file.toString()), ran.get("warnings"));
      assertEquals(2, choices().size());
    }
  }

  @Test
  void aFolderThatCannotBeWrittenIsALineForEachChoice() throws Exception {
    Files.writeString(file.getParent(), "a file");
    Map<String, String> ran = run(ON);
    assertTrue(ran.get("warnings").lines().count() <= 3, ran.get("warnings"));
    assertTrue(ran.get("warnings").contains("nothing is kept in " + file), ran.get("warnings"));
    assertEquals("true", ran.get("timed"));
  }

  @Test
  void withoutMemoryForOperandsTheRuleDecides() throws Exception {
    Map<String, String> ran = run(ON, "-Dfusednorm.cuda.memory=196k");
    assertTrue(ran.get("warnings").contains("no memory to time"), ran.get("warnings"));
    assertFalse(Files.exists(file));
    assertEquals(run("-Dfusednorm.cuda.memory=196k").get("bits"), ran.get("bits"));
  }

  @Test
  void twoAtOnceLoseNothing() throws Exception {
    List<CompletableFuture<Map<String, String>>> runs =
        List.of("4", "5", "6", "7").stream()
            .map(
                n ->
                    CompletableFuture.supplyAsync(
                        () -> {
                          try {
                            return run(ON, "-Douter=" + n);
                          } catch (Exception e) {
                            throw new IllegalStateException(e);
                          }
                        }))
            .toList();
    for (CompletableFuture<Map<String, String>> r : runs) {
      assertEquals("", r.get().get("warnings"));
    }
    assertEquals(8, choices().size());
  }

  @Test
  void offWithoutTheSwitch() throws Exception {
    run();
    assertFalse(Files.exists(file.getParent()));
    AssertionError refused =
        assertThrows(AssertionError.class, () -> run("-Dfusednorm.autotune=maybe"));
    assertTrue(
        refused.getMessage().contains("-Dfusednorm.autotune=maybe is neither true nor false"),
        refused.getMessage());
  }

  /** In those JVMs: a step, the same recorded, and what it took. */
  static final class Run {
    public static void main(String[] args) {
      int channels = Integer.getInteger("channels", 8);
      Shape s = Shape.ncl(Long.getLong("outer", 6), channels, 32);
      try (Backend b = Backends.open("cuda")) {
        float[] values = new float[(int) s.elements()];
        for (int i = 0; i < values.length; i++) {
          values[i] = (i * 37 % 101) / 50f - 1;
        }
        Tensor x = b.of(s, values);
        Tensor y = b.empty(s, DType.F32);
        Tensor dx = b.empty(s, DType.F32);
        Saved saved = Saved.empty(b, s, DType.F32, false);
        Sums sums = Sums.empty(b, channels);
        Runnable forward =
            () -> b.norm().forward(x, Affine.NONE, 1e-5, Activation.RELU, null, saved, y);
        Runnable backward = () -> b.norm().backward(y, x, saved, Activation.RELU, sums, dx, null);
        long before = Emulator.count(Count.LAUNCHES);
        forward.run();
        b.synchronize();
        long first = Emulator.count(Count.LAUNCHES) - before;
        backward.run();
        System.out.println("##forward " + launches(b, forward));
        System.out.println("##backward " + launches(b, backward));
        try (Recording r = b.record(backward)) {
          dx.fillZero();
          r.replay();
          System.out.println("##bits " + bits(y) + " " + bits(dx));
        }
        System.out.println("##timed " + (first > 3));
        System.out.println("##held " + b.memory().heldBytes());
      }
    }

    private static long launches(Backend b, Runnable verb) {
      b.synchronize();
      long before = Emulator.count(Count.LAUNCHES);
      verb.run();
      b.synchronize();
      return Emulator.count(Count.LAUNCHES) - before;
    }

    private static int bits(Tensor t) {
      return Arrays.hashCode(t.toFloats());
    }
  }
}
