// For each row of logits the most likely token of those that together have the probability p, after a softmax: the
// smallest number of tokens, counted from the most likely one; the place of the last of them is the result.
#include <math.h>
#include <stdint.h>

void top_p(const float *logits, int32_t *last, int64_t rows, int64_t tokens, double p) {
    for (int64_t b = 0; b < rows; b++) {
        const float *row = logits + b * tokens;
        double largest = -INFINITY, sum = 0, taken = 0;
        for (int64_t v = 0; v < tokens; v++) {
            largest = fmax(largest, row[v]);
        }
        for (int64_t v = 0; v < tokens; v++) {
            sum += exp(row[v] - largest);
        }
        // From the most likely token down: of equal ones the first comes first.
        double below = INFINITY;
        int64_t after = -1;
        last[b] = 0;
        while (taken < p * sum) {
            int64_t next = -1;
            for (int64_t v = 0; v < tokens; v++) {
                int later = row[v] < below || (row[v] == below && v > after);
                if (later && (next < 0 || row[v] > row[next])) {
                    next = v;
                }
            }
            if (next < 0) {
                break;
            }
            below = row[next], after = next, last[b] = (int32_t)next;
            taken += exp(row[next] - largest);
        }
    }
}
