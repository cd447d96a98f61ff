package org.fusednorm.bench;

import org.openjdk.jmh.annotations.Fork;

/** This library without its native code: what Java's own compiler makes of the loops. */
@Fork(
    value = 1,
    jvmArgsAppend = {"--enable-native-access=ALL-UNNAMED", "-Dfusednorm.native=off"})
public class PlainJavaNorm extends FusednormNorm {}
