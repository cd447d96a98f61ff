/**
 * The command line: one class per command, registered in {@link org.fusednorm.cli.Main}.
 *
 * <p>A command is a {@link java.util.concurrent.Callable} or {@link java.lang.Runnable} with the
 * mixin {@link org.fusednorm.cli.CommonOptions}. It prints its result to standard output through
 * {@code spec.commandLine().getOut()} and throws when it cannot: {@link
 * org.fusednorm.cli.UserError} for what the user can put right, {@link
 * org.fusednorm.cli.CheckFailed} for a claim that did not hold. The text for the user and the exit
 * code are made in one place, {@link org.fusednorm.cli.Errors}.
 */
package org.fusednorm.cli;
