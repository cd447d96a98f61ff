package org.fusednorm.host;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.stream.IntStream;
import org.fusednorm.testing.Required;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class NativeMemoryTest {
  private static final long MIB = 1L << 20;
  private static final long GIB = 1L << 30;

  private long liveBefore;

  @BeforeEach
  void needsTheLibrary() {
    Required.assume("native", NativeLibrary.isAvailable(), NativeLibrary.unavailabilityCause());
    liveBefore = NativeLibrary.allocatedBytes();
  }

  @AfterEach
  void leavesNothingBehind() {
    assertEquals(liveBefore, NativeLibrary.allocatedBytes());
  }

  @ParameterizedTest
  @ValueSource(longs = {0, 1, 63, 64, 65, 4096, 4 * MIB - 1, 4 * MIB, 5 * MIB + 3})
  void blocksAreAlignedCountedAndWritableToTheLastByte(long bytes) {
    long block = NativeLibrary.allocate(bytes);
    assertEquals(0, block % NativeLibrary.ALIGNMENT);
    assertEquals(liveBefore + bytes, NativeLibrary.allocatedBytes());
    NativeLibrary.fill(block, bytes, (byte) 7);
    ByteBuffer window = NativeLibrary.window(block, (int) bytes);
    assertEquals(bytes, window.capacity());
    if (bytes > 0) {
      assertEquals(7, window.get((int) bytes - 1));
    }
    NativeLibrary.free(block);
  }

  @Test
  void blocksOfZeroBytesHaveAddressesOfTheirOwn() {
    long one = NativeLibrary.allocate(0);
    long other = NativeLibrary.allocate(0);
    assertNotEquals(0, one);
    assertNotEquals(one, other);
    NativeLibrary.free(one);
    NativeLibrary.free(other);
  }

  @Test
  void whatTheSystemCannotGiveIsZero() {
    assertEquals(0, NativeLibrary.allocate(Long.MAX_VALUE));
    assertEquals(0, NativeLibrary.allocate(Long.MAX_VALUE - 4096));
    assertEquals(0, NativeLibrary.allocate(1L << 60));
  }

  @Test
  void windowsOverlapTheSameMemoryInNativeOrder() {
    long block = NativeLibrary.allocate(32);
    ByteBuffer whole = NativeLibrary.window(block, 32);
    ByteBuffer tail = NativeLibrary.window(block + 12, 20);
    assertEquals(ByteOrder.nativeOrder(), whole.order());
    assertTrue(whole.isDirect());
    whole.putFloat(12, 1.5f);
    assertEquals(1.5f, tail.getFloat(0));
    assertEquals(block, NativeLibrary.address(whole));
    assertEquals(block + 12, NativeLibrary.address(tail));
    NativeLibrary.free(block);
  }

  @Test
  void addressIsThatOfIndexZeroWhateverThePosition() {
    ByteBuffer buffer = ByteBuffer.allocateDirect(16);
    long address = NativeLibrary.address(buffer);
    assertEquals(address, NativeLibrary.address(buffer.position(5)));
    assertEquals(address + 5, NativeLibrary.address(buffer.slice()));
  }

  @Test
  void copiesMayOverlapInBothDirections() {
    long block = NativeLibrary.allocate(200);
    ByteBuffer bytes = NativeLibrary.window(block, 200);
    for (int shift : new int[] {1, 64}) {
      IntStream.range(0, 200).forEach(i -> bytes.put(i, (byte) i));
      NativeLibrary.copy(block, block + shift, 100);
      for (int i = 0; i < 100; i++) {
        assertEquals((byte) i, bytes.get(i + shift), "up by " + shift + " at " + i);
      }
      NativeLibrary.copy(block + shift, block, 100);
      for (int i = 0; i < 100; i++) {
        assertEquals((byte) i, bytes.get(i), "down by " + shift + " at " + i);
      }
    }
    NativeLibrary.free(block);
  }

  @Test
  void addressesBeyondTwoToTheThirtyOneBytesWork() {
    long block = NativeLibrary.allocate(3 * GIB);
    assertNotEquals(0, block);
    long far = block + 2 * GIB + 12345;
    NativeLibrary.fill(far, 64, (byte) 3);
    NativeLibrary.copy(far, block, 64);
    assertEquals(3, NativeLibrary.window(block, 64).get(63));
    ByteBuffer last = NativeLibrary.window(block + 2 * GIB, NativeLibrary.MAX_WINDOW);
    assertEquals(3, last.get(12345 + 63));
    last.put((int) GIB - 1, (byte) 9);
    assertEquals(9, NativeLibrary.window(block + 3 * GIB - 1, 1).get(0));
    NativeLibrary.free(block);
  }

  @Test
  void manyThreadsCountEveryByte() {
    IntStream.range(0, 2000)
        .parallel()
        .forEach(i -> NativeLibrary.free(NativeLibrary.allocate(i * 97L)));
  }

  @Test
  void badArgumentsAreNamed() {
    refused("negative number of bytes: -1", () -> NativeLibrary.allocate(-1));
    refused("not the address of an allocated block: 0x0", () -> NativeLibrary.free(0));
    refused("not the address of an allocated block: 0x21", () -> NativeLibrary.free(0x21));
    refused(
        "not the address of an allocated block: 0xffffffffffffffc0", () -> NativeLibrary.free(-64));
    refused(
        "a window has at most 1073741824 bytes, not 1073741825",
        () -> NativeLibrary.window(64, NativeLibrary.MAX_WINDOW + 1));
    refused("negative number of bytes: -5", () -> NativeLibrary.window(64, -5));
    refused("window of 8 bytes at address 0x0", () -> NativeLibrary.window(0, 8));
    refused("not a direct buffer", () -> NativeLibrary.address(ByteBuffer.allocate(8)));
    refused("source of 8 bytes at address 0x0", () -> NativeLibrary.copy(0, 64, 8));
    refused(
        "destination of 8 bytes at address 0x7ffffffffffffff8",
        () -> NativeLibrary.copy(64, Long.MAX_VALUE - 7, 8));
    refused("negative number of bytes: -2", () -> NativeLibrary.copy(64, 128, -2));
    refused("range of 1 bytes at address", () -> NativeLibrary.fill(-1, 1, (byte) 0));
    assertThrows(NullPointerException.class, () -> NativeLibrary.address(null));
  }

  private static void refused(String message, Executable call) {
    String text = assertThrows(IllegalArgumentException.class, call).getMessage();
    assertTrue(text.startsWith(message), text);
  }
}
