import java.util.Scanner;

/** Holds 896 MiB of checked arrays, makes garbage meanwhile. "ping" answers the rounds of garbage, "check" the arrays. */
public class Heap {
    static volatile long ticks;

    static int sum(int[][] rows) {
        int sum = 0;
        for (int[] row : rows)
            for (int i = 0; i < row.length; i += 5) sum = sum * 31 + row[i];
        return sum;
    }

    public static void main(String[] arguments) {
        // With its header each row is 4 MiB to the byte: a collector that gives out whole regions wastes none.
        int[][] rows = new int[224][(1 << 20) - 4];
        for (int r = 0; r < rows.length; r++)
            for (int i = 0; i < rows[r].length; i++) rows[r][i] = (i >> 4) * 31 + r;
        int want = sum(rows);
        Thread litter = new Thread(() -> {
            for (byte[] garbage; ; ticks++) {
                garbage = new byte[1 << 16];
                garbage[7] = 1;
                try {
                    Thread.sleep(5);
                } catch (InterruptedException e) {
                    return;
                }
            }
        });
        litter.setDaemon(true);
        litter.start();
        System.out.println("ready");
        Scanner questions = new Scanner(System.in);
        while (questions.hasNextLine())
            if (questions.nextLine().equals("ping")) System.out.println("ticks " + ticks);
            else System.out.println(sum(rows) == want ? "right" : "wrong");
    }
}
