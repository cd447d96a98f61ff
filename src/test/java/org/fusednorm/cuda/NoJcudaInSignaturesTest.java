package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.reflect.Constructor;
import java.lang.reflect.Executable;
import java.lang.reflect.Field;
import java.lang.reflect.Member;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Type;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.testing.Required;
import org.junit.jupiter.api.Test;

/** JCuda stays inside: whoever uses the API compiles without it. */
class NoJcudaInSignaturesTest {
  @Test
  void ofAnyPublicClass() throws Exception {
    Path classes = Path.of("target/classes");
    Required.assume("sources", Files.isDirectory(classes), "no " + classes + " here");
    List<String> names;
    try (Stream<Path> files = Files.walk(classes)) {
      names =
          files
              .map(f -> classes.relativize(f).toString())
              .filter(f -> f.endsWith(".class"))
              .map(f -> f.substring(0, f.length() - ".class".length()).replace('/', '.'))
              .toList();
    }
    int looked = 0;
    List<String> found = new ArrayList<>();
    for (String name : names) {
      Class<?> c = Class.forName(name, false, getClass().getClassLoader());
      if (isPublic(c)) {
        looked++;
        found.addAll(jcudaIn(c));
      }
    }
    assertEquals(List.of(), found);
    assertTrue(looked > 50, looked + " classes");
  }

  /** The check itself sees what it looks for. */
  @Test
  void butOfThisOne() {
    assertFalse(jcudaIn(jcuda.driver.JCudaDriver.class).isEmpty());
  }

  private static boolean isPublic(Class<?> c) {
    for (Class<?> k = c; k != null; k = k.getEnclosingClass()) {
      if (!Modifier.isPublic(k.getModifiers())) {
        return false;
      }
    }
    return true;
  }

  private static List<String> jcudaIn(Class<?> c) {
    List<String> found = new ArrayList<>();
    List<Type> own = new ArrayList<>(Arrays.asList(c.getGenericInterfaces()));
    own.add(c.getGenericSuperclass());
    note(c.getName(), own, found);
    for (Field f : c.getDeclaredFields()) {
      if (isOffered(f)) {
        note(f.toString(), List.of(f.getGenericType()), found);
      }
    }
    for (Constructor<?> k : c.getDeclaredConstructors()) {
      noteExecutable(k, List.of(), found);
    }
    for (Method m : c.getDeclaredMethods()) {
      noteExecutable(m, List.of(m.getGenericReturnType()), found);
    }
    return found;
  }

  private static void noteExecutable(Executable e, List<Type> result, List<String> found) {
    if (isOffered(e) && !e.isSynthetic()) {
      List<Type> types = new ArrayList<>(result);
      types.addAll(Arrays.asList(e.getGenericParameterTypes()));
      types.addAll(Arrays.asList(e.getGenericExceptionTypes()));
      note(e.toString(), types, found);
    }
  }

  private static boolean isOffered(Member m) {
    return (m.getModifiers() & (Modifier.PUBLIC | Modifier.PROTECTED)) != 0;
  }

  private static void note(String where, List<Type> types, List<String> found) {
    for (Type t : types) {
      if (t != null && t.getTypeName().contains("jcuda.")) {
        found.add(where + ": " + t.getTypeName());
      }
    }
  }
}
